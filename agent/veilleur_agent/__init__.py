"""The agent on a box: box (parent), eye (sees), mouth (speaks)."""
