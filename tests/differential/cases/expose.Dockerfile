FROM registry.test/base
EXPOSE 80 443/tcp 53/udp 8000-8003 9000-9001/udp
EXPOSE 80
