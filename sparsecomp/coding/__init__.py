"""What turns numbers into bytes and back."""
