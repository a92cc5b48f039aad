# options: --secret id=s,src=@SECRET@
FROM registry.test/base
RUN --mount=type=secret,id=s cat /run/secrets/s > /1; stat -c '%u %g %a' /run/secrets/s > /2
RUN --mount=type=secret,id=s,target=/x/y,mode=0444,uid=3,gid=4 stat -c '%u %g %a' /x/y > /3
RUN --mount=type=secret,id=s,env=TOKEN echo $TOKEN > /4
RUN --mount=type=secret,id=absent ls /run/secrets > /5 2>&1 || echo none > /5
