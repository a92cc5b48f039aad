FROM registry.test/base
RUN mkdir /srv && echo data > /srv/data && ln -s data /srv/link && chown -R 1000:33 /srv
ENV FROM_BASE=1 PATH=/opt/bin:/bin A="b c"
LABEL base=rich version=1
EXPOSE 80 53/udp
VOLUME /data
USER app
WORKDIR /srv
STOPSIGNAL SIGQUIT
SHELL ["/bin/sh", "-e", "-c"]
HEALTHCHECK --interval=7s CMD true
ENTRYPOINT ["/bin/busybox"]
CMD ["sh"]
