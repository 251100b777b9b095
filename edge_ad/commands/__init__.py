"""One module a verb, each with its click `command`; heavy imports belong inside the function that needs them."""
