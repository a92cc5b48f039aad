FROM registry.test/base
ARG who=app
ENV grp=www
COPY --chown=${who}:$grp a.txt /x
