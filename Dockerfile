# The image of Countersign: its virtual environment over any Python image, for amd64 and arm64 alike.
#
#     docker build --tag countersign .                          # or podman; buildah needs --format docker
#     docker run --rm --read-only countersign verify --help
#
# It runs as user 65532 with a read-only root file system; nothing but /tmp may be written, and only if it is mounted.
ARG BASE_IMAGE=python:3.11-slim

FROM ${BASE_IMAGE} AS build
WORKDIR /build
COPY requirements/build.txt requirements/runtime.txt ./
# Wheels only, each by its hash: nothing is compiled, and nothing but what the locks name is run. Bytecode that is
# right by content, not by time, is made here: a read-only file system could not take it later. Conditions know the
# standard functions of CEL only: its library's extensions, 38 MB, stay out; and of AWS's some 400 services, 19 MB, all
# stay out but those that we call and those that hand out credentials. Objects of Kubernetes stay JSON: the classes that
# its library has for each kind and each call, 124 MB with their bytecode, are imported when one is named, and none is.
RUN python -m venv /opt/setuptools && /opt/setuptools/bin/pip install --quiet --no-cache-dir --disable-pip-version-check \
        --no-deps --only-binary=:all: --require-hashes --requirement build.txt
RUN python -m venv --without-pip /opt/countersign && /opt/setuptools/bin/pip --python /opt/countersign/bin/python \
        install --quiet --no-cache-dir --disable-pip-version-check --no-compile \
        --no-deps --only-binary=:all: --require-hashes --requirement runtime.txt \
    && cd /opt/countersign/lib/python3*/site-packages \
    && rm -r cel_expr_python/ext boto3/data boto3/examples \
    && find botocore/data -mindepth 1 -maxdepth 1 -type d \
        ! -name ecr ! -name ecr-public ! -name kms ! -name signer-data ! -name sns \
        ! -name signin ! -name sso ! -name sso-oidc ! -name sts -exec rm -r {} + \
    && find kubernetes -name '*.py' ! -name __init__.py \( -path '*/client/models/*' -o -path '*/client/api/*' \) -delete \
    && /opt/countersign/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/countersign/lib
COPY pyproject.toml README.md LICENSE ./
COPY webhook webhook
RUN /opt/setuptools/bin/pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir wheel . \
    && /opt/setuptools/bin/pip --python /opt/countersign/bin/python install --quiet --disable-pip-version-check \
        --no-deps --no-compile --no-index wheel/*.whl \
    && /opt/countersign/bin/python -m compileall -q --invalidation-mode unchecked-hash \
        /opt/countersign/lib/python3*/site-packages/webhook

FROM ${BASE_IMAGE}
# No installer in the last stage: not pip, not what would bring it back, not what it builds with. The standard
# library is compiled where the base image left that to the first start.
RUN set -eu; \
    for directory in $(python -c 'import site, sysconfig; print(*site.getsitepackages(), sysconfig.get_path("stdlib"))'); do \
        rm -rf "$directory"/pip "$directory"/pip-* "$directory"/ensurepip "$directory"/wheel "$directory"/wheel-* \
            "$directory"/setuptools "$directory"/setuptools-* "$directory"/pkg_resources "$directory"/_distutils_hack \
            "$directory"/distutils-precedence.pth; \
    done; \
    rm -rf /usr/share/python-wheels /usr/bin/pip* /usr/local/bin/pip* /usr/local/bin/wheel; \
    python -m compileall -q -x '/(tests?|idlelib|lib2to3|site-packages)/' \
        "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
COPY --from=build /opt/countersign /opt/countersign

ENV PATH=/opt/countersign/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MALLOC_ARENA_MAX=2

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="countersign" \
      org.opencontainers.image.description="Kubernetes admission webhook that admits only images signed by whom your policy trusts" \
      org.opencontainers.image.url="https://countersign.dev" \
      org.opencontainers.image.documentation="https://countersign.dev/docs/" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

USER 65532:65532
WORKDIR /tmp
EXPOSE 9443 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
ENTRYPOINT ["countersign"]
CMD ["serve"]
