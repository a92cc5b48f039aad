FROM registry.test/base
ONBUILD ARG trigger=value
ONBUILD RUN echo $trigger > /triggered
ONBUILD COPY --chown=3:4 a.txt /from-context
ONBUILD ENV TRIGGERED=yes
ONBUILD CMD ["/triggered"]
