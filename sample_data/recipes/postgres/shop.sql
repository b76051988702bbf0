-- A shop's tables as PostgreSQL has them, in a few rows: psql "$SHOP_DATABASE" -f shop.sql
CREATE TABLE users (
  id bigint PRIMARY KEY, email text NOT NULL, plan text, created_at timestamptz NOT NULL
);
CREATE TYPE order_status AS ENUM ('open', 'paid', 'cancelled');
CREATE TABLE orders (
  id bigint PRIMARY KEY, user_id bigint NOT NULL REFERENCES users, placed_at timestamptz NOT NULL,
  status order_status NOT NULL, total numeric(12, 2) NOT NULL, currency char(3) NOT NULL, coupon text
);
CREATE TABLE order_items (
  order_id bigint REFERENCES orders, line int, sku text NOT NULL, price numeric(12, 2) NOT NULL, quantity int NOT NULL,
  PRIMARY KEY (order_id, line)
);
INSERT INTO users VALUES
  (1, 'ada@example.com', 'pro', '2023-02-01 09:30:00+01'),
  (2, 'grace@example.com', NULL, '2023-03-26 01:59:59.123456+00'),
  (3, 'zoë@example.com', 'free', '2024-02-29 23:00:00-05');
INSERT INTO orders VALUES
  (1001, 1, '2023-02-02 10:00:00+00', 'paid', 59.90, 'EUR', 'SPRING'),
  (1002, 1, '2023-02-03 10:00:00+00', 'cancelled', 10.00, 'EUR', NULL),
  (1003, 2, '2023-10-29 02:30:00+02', 'paid', 0.10, 'USD', NULL),
  (1004, 1, '2023-10-29 02:30:00+01', 'paid', 1234567.89, 'EUR', NULL);
INSERT INTO order_items VALUES
  (1001, 1, '00123', 29.95, 2), (1003, 1, 'A-1', 0.10, 1), (1004, 1, '00123', 1234537.94, 1), (1004, 2, 'B"2', 29.95, 1);
