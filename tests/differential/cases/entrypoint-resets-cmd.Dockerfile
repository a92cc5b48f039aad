FROM registry.test/rich
ENTRYPOINT echo hi
