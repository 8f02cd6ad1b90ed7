"""Series chosen, listened to, continued and remembered."""
