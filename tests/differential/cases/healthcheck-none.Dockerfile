FROM registry.test/rich
HEALTHCHECK NONE
