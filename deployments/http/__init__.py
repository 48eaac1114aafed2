"""The protocol over HTTP: one model, its versions, and the server that speaks for all of them."""
