//! The Auth service: there are no users and no roles. Who holds a certificate of the store's
//! authority may use the store, and clients that ask are told so in etcd's words.

use tonic::{Request, Response, Status};

use super::{
    api::Api,
    errors,
    proto::etcdserverpb::{auth_server::Auth, *},
};

/// The service.
pub(super) struct NoAuth(pub(super) Api);

macro_rules! not_enabled {
    ($($name:ident $request:ident $response:ident;)*) => {
        #[tonic::async_trait]
        impl Auth for NoAuth {
            async fn auth_status(
                &self,
                _: Request<AuthStatusRequest>,
            ) -> Result<Response<AuthStatusResponse>, Status> {
                let header = self.0.header_now();
                // Where nothing was ever changed, etcd counts from 1.
                let auth_revision = 1;
                Ok(Response::new(AuthStatusResponse { header, enabled: false, auth_revision }))
            }

            $(async fn $name(&self, _: Request<$request>) -> Result<Response<$response>, Status> {
                Err(errors::AUTH_NOT_ENABLED.into())
            })*
        }
    };
}

not_enabled! {
    auth_enable AuthEnableRequest AuthEnableResponse;
    auth_disable AuthDisableRequest AuthDisableResponse;
    authenticate AuthenticateRequest AuthenticateResponse;
    user_add AuthUserAddRequest AuthUserAddResponse;
    user_get AuthUserGetRequest AuthUserGetResponse;
    user_list AuthUserListRequest AuthUserListResponse;
    user_delete AuthUserDeleteRequest AuthUserDeleteResponse;
    user_change_password AuthUserChangePasswordRequest AuthUserChangePasswordResponse;
    user_grant_role AuthUserGrantRoleRequest AuthUserGrantRoleResponse;
    user_revoke_role AuthUserRevokeRoleRequest AuthUserRevokeRoleResponse;
    role_add AuthRoleAddRequest AuthRoleAddResponse;
    role_get AuthRoleGetRequest AuthRoleGetResponse;
    role_list AuthRoleListRequest AuthRoleListResponse;
    role_delete AuthRoleDeleteRequest AuthRoleDeleteResponse;
    role_grant_permission AuthRoleGrantPermissionRequest AuthRoleGrantPermissionResponse;
    role_revoke_permission AuthRoleRevokePermissionRequest AuthRoleRevokePermissionResponse;
}
