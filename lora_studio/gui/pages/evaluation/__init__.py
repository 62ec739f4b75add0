"""The Evaluate page: is a model better than before, and what has it forgotten?"""
