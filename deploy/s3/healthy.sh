#!/bin/sh
# Whether the S3 server of this container answers, whichever it is.
for path in /healthz /minio/health/live /health; do
    if command -v curl >/dev/null 2>&1; then
        curl -fs -o /dev/null --max-time 3 "http://127.0.0.1:9000$path" && exit 0
    else
        wget -q -O /dev/null -T 3 "http://127.0.0.1:9000$path" && exit 0
    fi
done
exit 1
