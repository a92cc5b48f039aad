FROM registry.test/base
RUN mkdir /d && touch /d/f
RUN chmod 700 /d
RUN chmod 600 /d/f
RUN chown 5 /d/f
RUN true
