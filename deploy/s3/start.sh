#!/bin/sh
# Starts the S3 server that the image of S3_IMAGE holds - SeaweedFS, MinIO or RustFS - on port 9000, with its data in
# /data and its keys from files: changing the image is changing one setting.
set -eu
access=$(cat /run/secrets/s3/access_key)
secret=$(cat /run/secrets/s3/secret_key)

if command -v minio >/dev/null 2>&1; then
    # its entry point reads the files; images differ in whether they have one
    if [ -x /usr/bin/docker-entrypoint.sh ]; then
        export MINIO_ROOT_USER_FILE=/run/secrets/s3/access_key MINIO_ROOT_PASSWORD_FILE=/run/secrets/s3/secret_key
        exec /usr/bin/docker-entrypoint.sh minio server --address :9000 /data
    fi
    export MINIO_ROOT_USER="$access" MINIO_ROOT_PASSWORD="$secret"
    exec minio server --address :9000 /data
elif command -v rustfs >/dev/null 2>&1; then
    export RUSTFS_ACCESS_KEY="$access" RUSTFS_SECRET_KEY="$secret" RUSTFS_ADDRESS=:9000 RUSTFS_CONSOLE_ENABLE=false
    exec rustfs /data
elif command -v weed >/dev/null 2>&1; then
    umask 077
    cat >/tmp/s3.json <<JSON
{"identities": [{"name": "medcoss", "credentials": [{"accessKey": "$access", "secretKey": "$secret"}],
                 "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}
JSON
    cd /tmp
    # one process; of its parts only the S3 server listens beyond the container. Volumes are as many as the disk takes.
    export WEED_MASTER_VOLUME_GROWTH_COPY_1=1
    exec weed -logtostderr=true server -dir=/data -ip=127.0.0.1 -ip.bind=127.0.0.1 -s3 -s3.ip.bind=0.0.0.0 \
        -s3.port=9000 -s3.config=/tmp/s3.json -s3.iam=false -s3.port.iceberg=0 -s3.port.lance=0 \
        -volume.max=0 -volume.preStopSeconds=0 -master.volumeSizeLimitMB=1024 -master.electionTimeout=1s \
        -master.telemetry=false
fi
echo "the image of S3_IMAGE has none of minio, rustfs and weed; see docs/deploy/object-store.md for other servers" >&2
exit 1
