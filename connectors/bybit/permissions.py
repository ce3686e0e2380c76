"""What to do about a key that may do too much."""

HOW_TO = (
    'On bybit.com, under API, make a key with "Read-Only" chosen and use that one, '
    "or set allow_dangerous_key = true for this account"
)
PATH = "/v5/user/query-api"
