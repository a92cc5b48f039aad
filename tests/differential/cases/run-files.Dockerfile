FROM registry.test/base
RUN mkdir -m 1777 /t && touch /t/f && chmod 6755 /t/f && ln /t/f /t/h && ln -s f /t/s && mkfifo /t/p && chown 12:34 /t/f && chown -h 5:6 /t/s
RUN rm /t/f && mv /t/s /t/s2
RUN rm -rf /t && mkdir /t && touch /t/new
