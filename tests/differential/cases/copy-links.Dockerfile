FROM registry.test/base
COPY link-to-file /f
COPY link-to-dir /d
COPY links /links
COPY src/up /up
