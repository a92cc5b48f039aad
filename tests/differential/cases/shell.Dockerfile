FROM registry.test/base
SHELL ["/bin/busybox", "sh", "-x", "-c"]
RUN echo x > /1
CMD run
ENTRYPOINT e
