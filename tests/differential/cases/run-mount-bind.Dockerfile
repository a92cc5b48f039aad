FROM registry.test/base AS s
RUN mkdir /o && echo o > /o/f
FROM registry.test/base
RUN --mount=target=/ctx cat /ctx/a.txt > /1
RUN --mount=type=bind,from=s,source=/o,target=/m cat /m/f > /2
RUN --mount=from=s,src=/o/f,dst=/file cat /file > /3
RUN --mount=target=/ctx,rw echo new > /ctx/new && ls /ctx | grep new > /4
RUN --mount=from=registry.test/rich,target=/rich ls /rich/srv > /5
