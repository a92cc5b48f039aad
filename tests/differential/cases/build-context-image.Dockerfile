# options: --build-context replaced=docker-image://registry.test/rich --build-context other=docker-image://registry.test/base
FROM replaced
RUN ls /srv > /srv/l
COPY --from=other /etc/passwd /p
