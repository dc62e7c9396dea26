"""`make run`: servers from Python wheels, then the Procfile's processes. No part of the product."""
