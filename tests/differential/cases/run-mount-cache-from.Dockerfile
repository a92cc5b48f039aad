FROM registry.test/base AS s
RUN mkdir /seed && echo s > /seed/f
FROM registry.test/base
RUN --mount=type=cache,id=seeded,from=s,source=/seed,target=/c cat /c/f > /1
