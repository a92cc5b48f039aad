FROM registry.test/base
COPY --from=registry.test/rich /srv /srv
COPY --from=registry.test/rich /etc/passwd /p
