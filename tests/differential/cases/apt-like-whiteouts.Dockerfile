FROM registry.test/base
RUN mkdir -p /var/lib/x/lists && touch /var/lib/x/lists/a /var/lib/x/lists/b
RUN rm -rf /var/lib/x/lists/*
RUN rm -rf /var/lib/x && mkdir -p /var/lib/x
COPY a.txt /var/lib/x/lists/
