"""One self-contained HTML file about a search: `autotune report DIR`, or `autotune search ... --report`."""
