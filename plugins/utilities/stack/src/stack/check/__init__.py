"""`stack check`: is everything there that the next run needs?"""
