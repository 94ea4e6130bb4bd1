"""The lab's ``api`` service: a real ASGI application with a real connection pool and a real cache."""
