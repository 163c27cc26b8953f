"""A web page that runs TensorFlow.js models in the browser, and its server.

May import `config` and what is below; no other step.
"""

from boxcar.demo_page.server import serve

__all__ = ["serve"]
