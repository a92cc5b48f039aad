FROM registry.test/base AS build
RUN mkdir -p /o/sub && echo 1 > /o/f && chown 7:8 /o/f && chmod 4711 /o/f && ln -s f /o/l && ln /o/f /o/h && mkfifo /o/p
FROM scratch
COPY --from=build /o /o
COPY --from=0 /o/f /o/l /flat/
COPY --from=build --chown=1:2 /o/sub /s
