"""A web page that runs TensorFlow.js models in the browser, and the server that shows it with a run's own."""

from boxcar.demo_page.server import serve

__all__ = ["serve"]
