FROM registry.test/base
RUN --mount=type=cache,target=/c echo x > /c/x
RUN --mount=type=cache,target=/c cat /c/x > /1
RUN --mount=type=cache,id=other,target=/c ls /c > /2
RUN --mount=type=cache,target=/deep/er/c,uid=5,gid=6,mode=0711 stat -c '%u %g %a' /deep/er/c > /3
RUN ls -d /c /deep /deep/er/c > /4 2>&1 || true
