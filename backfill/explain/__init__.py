"""What codes mean: a page for each problem code, exit code and kind of error, and the search among them."""

from backfill.explain.pages import Page, all_pages
from backfill.explain.search import near, search
from backfill.explain.text import index_text, page_markdown, page_text

__all__ = ["Page", "all_pages", "index_text", "near", "page_markdown", "page_text", "search"]
