"""What a person sees of a result: an account, a page, pictures."""
