FROM registry.test/rich
HEALTHCHECK CMD ["/bin/true", "x y"]
