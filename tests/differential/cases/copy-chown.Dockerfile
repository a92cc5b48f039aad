FROM registry.test/base
COPY --chown=app a.txt /1
COPY --chown=app:www a.txt /2
COPY --chown=7:8 src /3
COPY --chown=1000 a.txt /4/new/dir/
