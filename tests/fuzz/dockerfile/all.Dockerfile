# syntax=dray
# escape=\
ARG BASE=debian:bookworm SOURCE_DATE_EPOCH=1
# build makes it
FROM --platform=$BUILDPLATFORM ${BASE%:*}:latest AS build
ARG V=1 W
ENV A="b c" D=$V
LABEL a=b "c d"='e'
WORKDIR --chown=1:2 /src
COPY --if-exists --link --exclude=*.o --exclude=**/x --chmod=u+rwX,go-w --chown=$V:g --parents a/./b/* [c] /d/.
ADD --checksum=sha256:1500c1f56fa9e26b9b8f42452a553675796ade0807cdce11975eb98170b3a570 https://example.com/a%20b?x=1 .
ADD --keep-git-dir --unpack=false https://github.com/a/b.git#v1:sub local.tar git@example.com:x/y.git /dst/
RUN --mount=type=cache,target=/c,id=a,sharing=locked,mode=0700,uid=1 --mount=type=bind,from=busybox,source=/x,target=y,rw \
    # a comment

    --mount=type=secret,id=s,env=S,required --mount=type=ssh --mount=type=tmpfs,target=/t,size=1g --network=none \
    --security=insecure --device=vendor.com/class=name,required make
RUN <<EOF
#!/bin/bash
echo $x
EOF
RUN <<-'A' cat <<B 3<<"C" && [ -f x ]
	one
	A
two
B
three
C
SHELL ["/bin/bash", "-c"]
RUN ["echo", "\u00e9\\"]
ONBUILD COPY --from=build <<X /x
$V
X
ONBUILD RUN --mount=from=build,target=/m ls
FROM build
COPY --from=0 / /
COPY <<../../X <<"Y" /files/
${A:-x}
X
$A
Y
EXPOSE 80 $V-8081/udp 127.0.0.1:1-3:5-7/SCTP
VOLUME ["/a", "b"] 
STOPSIGNAL RTMIN+3
HEALTHCHECK --interval=1m30s --start-interval=5s --retries=3 CMD ["x"]
HEALTHCHECK NONE
USER ${U:-1000:g}
MAINTAINER me
ENTRYPOINT exec top
CMD []
