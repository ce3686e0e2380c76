"""What to do about a key that may do too much."""

HOW_TO = (
    'On okx.com, under API, make a key with only the permission "Read" and use that one, '
    "or set allow_dangerous_key = true for this account"
)
