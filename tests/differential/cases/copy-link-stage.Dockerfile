FROM registry.test/base AS b
RUN mkdir /o && echo x > /o/x && chown 5:6 /o/x
FROM registry.test/base
COPY --link --from=b /o /out
RUN ls -ln /out | awk '{print $1, $3, $4, $NF}' > /listing
