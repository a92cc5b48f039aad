FROM registry.test/base
RUN mkdir /t && echo old > /t/old
RUN --mount=type=tmpfs,target=/t ls /t > /1 && touch /t/x && stat -c %a /t > /2
RUN --mount=type=tmpfs,target=/new,size=1m df -k /new | tail -1 | awk '{print $2}' > /3
