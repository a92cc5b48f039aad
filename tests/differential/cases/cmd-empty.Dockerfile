FROM registry.test/rich
CMD []
ENTRYPOINT []
