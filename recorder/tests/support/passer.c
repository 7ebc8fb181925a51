/* Passes a memfd through a unix socket, from one container to another: `passer give PATH` waits there and
   hands it to who connects, `passer take PATH` takes it. Then either stays until it is killed. */
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(int count, char **args)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    union { char bytes[CMSG_SPACE(sizeof(int))]; struct cmsghdr header; } control;
    char byte = 'x';
    struct iovec vector = { &byte, 1 };
    struct msghdr message = {
        .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control,
    };
    int given = -1;
    if (count != 3 || strlen(args[2]) >= sizeof address.sun_path)
        return 2;
    strcpy(address.sun_path, args[2]);
    int sock = socket(AF_UNIX, SOCK_STREAM, 0);
    if (!strcmp(args[1], "give")) {
        given = memfd_create("given", 0);
        unlink(args[2]);
        if (bind(sock, (struct sockaddr *)&address, sizeof address) || listen(sock, 1))
            return 1;
        int connection = accept(sock, 0, 0);
        memset(&control, 0, sizeof control);
        control.header.cmsg_len = CMSG_LEN(sizeof given);
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        memcpy(CMSG_DATA(&control.header), &given, sizeof given);
        if (sendmsg(connection, &message, 0) != 1)
            return 1;
    } else {
        while (connect(sock, (struct sockaddr *)&address, sizeof address))
            usleep(20000);
        /* So that who gives is done with it. */
        usleep(200000);
        if (recvmsg(sock, &message, 0) != 1 || control.header.cmsg_type != SCM_RIGHTS)
            return 1;
    }
    pause();
}
