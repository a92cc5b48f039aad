FROM registry.test/onbuild
RUN cat /triggered > /seen
