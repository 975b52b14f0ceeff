"""The fleet's page and its REST interface; works without any other server, and without scripts."""
