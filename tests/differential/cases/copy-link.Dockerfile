FROM registry.test/base
RUN mkdir /there && chmod 711 /there && ln -s there /alias
COPY --link a.txt /there/
COPY --link src /alias/
COPY --link --chown=3:4 --chmod=640 src/one.c /new/dir/
