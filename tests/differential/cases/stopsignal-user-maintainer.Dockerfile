FROM registry.test/base
MAINTAINER Some One <one@example.org>
STOPSIGNAL 9
USER www:app
