FROM scratch
COPY rootfs /
RUN ["/bin/busybox", "--install", "-s", "/bin"]
CMD ["/bin/sh"]
