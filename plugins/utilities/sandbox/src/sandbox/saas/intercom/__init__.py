"""Intercom, the tool in which the company answers its customers' questions."""
