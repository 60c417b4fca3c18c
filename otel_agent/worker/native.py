"""Thread and clock primitives as they were at start-up, before gevent or eventlet could replace them."""

import _thread
import time

allocate_lock = _thread.allocate_lock
start_new_thread = _thread.start_new_thread
sleep = time.sleep
monotonic = time.monotonic
