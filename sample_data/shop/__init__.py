"""The sample shop, which sold tea from 2019 to 2024 and exists on paper only."""
