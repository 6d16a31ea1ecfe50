"""What patterns of fields ask for, in words: nobody should have to read a regular expression."""

_NAME = "1 to 63 characters: {}, the first of them a letter or digit"
WORDS = {
    r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$": _NAME.format("letters, digits, ., _ and -"),
    r"^[a-z0-9][a-z0-9._-]{0,62}$": _NAME.format("small letters, digits, ., _ and -"),
    r"^[a-z0-9][a-z0-9_-]{0,62}$": _NAME.format("small letters, digits, _ and -"),
    r"^(job_[0-9a-z]{8,40}|[a-z0-9][a-z0-9._-]{0,62})$": "the id of a job, job_..., or the name of one in this request",
    r"^[a-z0-9][a-z0-9_-]{0,40}$": _NAME.format("small letters, digits, _ and -").replace("63", "41"),
    r"^[a-z][a-z0-9_]{0,31}$": "1 to 32 characters: small letters, digits and _, the first of them a letter",
    r"^job_[0-9a-z]{8,40}$": "an identifier like job_0123456789abcdef01234",
    r"^[0-9a-f]{32}$": "an MD5 of 32 hexadecimal digits, 0-9 and a-f",
    r"^[0-9a-f]{32,32}$": "32 hexadecimal digits, 0-9 and a-f",
    r"^[0-9a-f]{64}$": "a SHA-256 of 64 hexadecimal digits, 0-9 and a-f",
    r"^[\x21-\x7e]{1,255}$": "1 to 255 characters of ASCII without spaces",
    r"^https?://[!-~]+$": "an address that begins with http:// or https://, in ASCII and without spaces",
}
